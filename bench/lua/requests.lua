-- The requests of one workload, for wrk. What to send is told by the environment:
-- BENCH_WORKLOAD, BENCH_RUN (differs in each load), BENCH_TOKEN, BENCH_PROJECTS (how many are
-- seeded, from id 1), BENCH_PATH (for the workload "path"), BENCH_LINES (for "lines" and "delivery":
-- a file), BENCH_FIRST (for "transition": the first run), BENCH_SIGNATURE (for "delivery") and
-- BENCH_THREADS (how many threads share the lines and runs).

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_number", threads)
end

local workload = os.getenv("BENCH_WORKLOAD")
local run = os.getenv("BENCH_RUN")
local projects = tonumber(os.getenv("BENCH_PROJECTS"))
local path = os.getenv("BENCH_PATH")
local lines_file = os.getenv("BENCH_LINES")
local first = tonumber(os.getenv("BENCH_FIRST"))
local signature = os.getenv("BENCH_SIGNATURE")
local sharing = tonumber(os.getenv("BENCH_THREADS"))
local headers = { ["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN") }
local json_headers = {
  ["Authorization"] = headers["Authorization"],
  ["Content-Type"] = "application/json",
}
local count = 0

local function project_id()
  return count % projects + 1
end

local requests = {}

function requests.read()
  return wrk.format("GET", "/api/projects/" .. project_id(), headers)
end

function requests.full()
  return wrk.format("GET", "/api/projects/" .. project_id() .. "/full", headers)
end

function requests.list()
  return wrk.format("GET", "/api/projects?limit=50", headers)
end

function requests.path()
  return wrk.format("GET", path, headers)
end

local function create(unique, its_headers)
  local body = '{"name":"Project ' .. count .. '","github_owner":"bench","github_repo":"' .. unique
    .. '","webhook_url":"https://hooks.example.com/projects/' .. count
    .. '","auto_merge_enabled":true,"settings":{"planning_statement":"Plan before coding, and '
    .. 'keep every change small enough to be read.","branch_name":"main"},'
    .. '"secrets":[{"key":"API_KEY","value":"a made-up value of an ordinary length"}]}'
  return wrk.format("POST", "/api/projects", its_headers, body)
end

local function unique_text()
  return run .. "-" .. thread_number .. "-" .. count
end

function requests.create()
  return create(unique_text(), json_headers)
end

function requests.create_with_key()
  local unique = unique_text()
  return create(unique, {
    ["Authorization"] = headers["Authorization"],
    ["Content-Type"] = "application/json",
    ["Idempotency-Key"] = unique,
  })
end

function requests.upsert()
  local parts = {}
  for number = 1, 10 do
    parts[number] = '{"key":"SECRET_' .. number .. '","value":"' .. run .. "-" .. thread_number
      .. "-" .. count .. "-" .. number .. '"}'
  end
  local body = '{"secrets":[' .. table.concat(parts, ",") .. "]}"
  return wrk.format("PUT", "/api/projects/" .. project_id() .. "/secrets", json_headers, body)
end

function requests.log()
  local body = '{"level":"INFO","message":"step ' .. count .. ' of the deployment is done",'
    .. '"component":"deployer","context":{"step":' .. count .. ',"duration_ms":12.5},'
    .. '"correlation_id":"' .. run .. '"}'
  return wrk.format("POST", "/api/logs", json_headers, body)
end

-- Numbers from 0 that no other thread has.
local function own_number()
  return (count - 1) * sharing + thread_number - 1
end

local ready

-- Each line of the file is a request. They are formatted once, so that sending costs little.
local function read_lines()
  ready = {}
  for line in io.lines(lines_file) do
    local method, target, body, more = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)(.*)$")
    local sent = {}
    for name, value in pairs(body == "" and headers or json_headers) do sent[name] = value end
    for name, value in more:gmatch("\t([^\t:]+): ([^\t]*)") do sent[name] = value end
    ready[#ready + 1] = wrk.format(method, target, sent, body ~= "" and body or nil)
  end
end

function requests.lines()
  if not ready then read_lines() end
  return ready[own_number() % #ready + 1]
end

function requests.transition()
  return wrk.format("POST", "/api/agent-runs/" .. first + own_number() .. "/transitions",
    json_headers, '{"to":"completed","result":"The change is merged and deployed."}')
end

local payload

-- GitHub signs the body alone, so one signature fits all deliveries of a payload.
function requests.delivery()
  if not payload then
    local file = assert(io.open(lines_file, "rb"))
    payload = file:read("*a")
    file:close()
  end
  return wrk.format("POST", path, {
    ["Content-Type"] = "application/json",
    ["User-Agent"] = "GitHub-Hookshot/044aadd",
    ["X-GitHub-Delivery"] = run .. "-" .. own_number(),
    ["X-GitHub-Event"] = "push",
    ["X-Hub-Signature-256"] = signature,
  }, payload)
end

function requests.mix()
  return count % 10 == 0 and requests.create() or requests.read()
end

-- Every kind of request; reads more often than writes.
local every = { "read", "list", "read", "create", "full", "read", "upsert", "list", "read", "log" }

function requests.all()
  return requests[every[count % #every + 1]]()
end

function requests.all_but_logs()
  local name = every[count % #every + 1]
  return requests[name == "log" and "create" or name]()
end

local make = requests[workload]

function request()
  count = count + 1
  return make()
end

-- One line for the program that started this: times in microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "bench requests=%d duration=%d bytes=%d connect=%d read=%d write=%d status=%d timeout=%d"
      .. " p50=%d p95=%d p99=%d p999=%d max=%d\n",
    summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write,
    errors.status, errors.timeout, latency:percentile(50), latency:percentile(95),
    latency:percentile(99), latency:percentile(99.9), latency.max))
end
