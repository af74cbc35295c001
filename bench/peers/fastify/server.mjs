// Fastify over libsql, whose calls are synchronous: the fastest that people pick in Node.
// Arguments: port, data directory, folder with node_modules, schema files. With `--audited` before
// them, it keeps tokens in a table and chains its audit.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

import { addTokens, chainedAudit } from './audit.mjs'

const isAudited = process.argv[2] === '--audited'
const [port, dataDir, modules, ...schemas] = process.argv.slice(isAudited ? 3 : 2)
const require = createRequire(join(modules, 'package.json'))
const Fastify = require('fastify')
const Database = require('libsql')

const file = join(dataDir, 'peer.db')
mkdirSync(dataDir, { recursive: true })
const isNew = !existsSync(file)
const db = new Database(file)
for (const pragma of [
  'busy_timeout = 5000', 'journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON',
  'temp_store = MEMORY', 'cache_size = -16384'
]) db.pragma(pragma)
if (isNew) for (const schema of schemas) db.exec(readFileSync(schema, 'utf8'))

// Envelope encryption: a key for each project, wrapped under the master key; AES-256-GCM.
const masterKey = Buffer.from([...Array(32).keys()])
const projectKeys = new Map()

function encrypt (key, bound, data) {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(bound))
  const sealed = Buffer.concat([nonce, cipher.update(data), cipher.final(), cipher.getAuthTag()])
  return sealed.toString('base64url')
}

function unwrap (projectId, wrapped) {
  const known = projectKeys.get(projectId)
  if (known !== undefined) return known
  const data = Buffer.from(wrapped, 'base64url')
  const decipher = createDecipheriv('aes-256-gcm', masterKey, data.subarray(0, 12))
  decipher.setAAD(Buffer.from(`project-key:${projectId}`))
  decipher.setAuthTag(data.subarray(-16))
  const key = Buffer.concat([decipher.update(data.subarray(12, -16)), decipher.final()])
  remember(projectId, key)
  return key
}

function remember (projectId, key) {
  if (projectKeys.size >= 4096) projectKeys.clear()
  projectKeys.set(projectId, key)
}

const seal = (projectId, key, name, value) =>
  'sr1:A256GCM:p' + projectId + ':' + encrypt(key, `${projectId}:${name}`, value)
const now = () => new Date().toISOString().replace('Z', '000Z')

const sql = {
  project: db.prepare('SELECT * FROM projects WHERE id = ?'),
  settings: db.prepare('SELECT * FROM project_settings WHERE project_id = ?'),
  secrets: db.prepare('SELECT * FROM project_secrets WHERE project_id = ? ORDER BY id DESC'),
  page: db.prepare("SELECT * FROM projects WHERE status <> 'deleted'" +
    ' ORDER BY created_at DESC, id DESC LIMIT ?'),
  addProject: db.prepare('INSERT INTO projects (name, github_owner, github_repo, status,' +
    ' webhook_url, auto_merge_enabled, auto_confirm_plans, created_at, updated_at)' +
    ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *'),
  addSettings: db.prepare('INSERT INTO project_settings (project_id, planning_statement,' +
    ' repository_rules, setup_commands, branch_name, created_at, updated_at)' +
    ' VALUES (?, ?, ?, ?, ?, ?, ?)'),
  addKey: db.prepare('INSERT INTO project_keys VALUES (?, ?)'),
  key: db.prepare('SELECT wrapped FROM project_keys WHERE project_id = ?'),
  putSecret: db.prepare('INSERT INTO project_secrets (project_id, key_name, ciphertext,' +
    ' created_at, updated_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (project_id, key_name)' +
    ' DO UPDATE SET ciphertext = excluded.ciphertext, updated_at = excluded.updated_at,' +
    ' version = version + 1'),
  audit: db.prepare('INSERT INTO audit_entries (at, actor, action, target, project_id, fields)' +
    " VALUES (?, 'admin', ?, ?, ?, ?)"),
  addLog: db.prepare('INSERT INTO system_logs (level, message, component, context,' +
    ' correlation_id, project_id, agent_run_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
  slow: db.prepare('WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers' +
    ' WHERE n < ?) SELECT count(*) AS counted FROM numbers')
}

const plainAudit = (request, at, action, projectId, fields) =>
  sql.audit.run(at, action, `projects/${projectId}`, projectId, fields)
const audit = isAudited ? chainedAudit(db) : plainAudit

const text = { type: 'string' }
const nullable = { type: ['string', 'null'] }
const integer = { type: 'integer' }
const boolean = { type: 'boolean' }
const object = (properties, required = Object.keys(properties)) =>
  ({ type: 'object', properties, required, additionalProperties: false })

const times = { created_at: text, updated_at: text, version: integer }
const projectShape = object({
  id: integer, ...times, name: text, github_owner: text, github_repo: text, status: text,
  webhook_url: nullable, auto_merge_enabled: boolean, auto_confirm_plans: boolean
})
const settingsShape = object({
  id: integer, ...times, project_id: integer, planning_statement: nullable,
  repository_rules: nullable, setup_commands: nullable, branch_name: text
})
const secretShape = object({
  id: integer, project_id: integer, key: text, value: { type: 'null' }, version: integer,
  status: text, created_at: text, updated_at: text
})
const fullShape = object({
  project: projectShape, settings: settingsShape,
  secrets: { type: 'array', items: secretShape }, secret_count: integer
})
const listShape = object({
  projects: { type: 'array', items: projectShape }, next_cursor: nullable
})
const name = { type: 'string', minLength: 1, maxLength: 255 }
const githubName = { type: 'string', minLength: 1, maxLength: 100, pattern: '^[^/\\s]+$' }
const secretsIn = {
  type: 'array',
  maxItems: 500,
  items: object({
    key: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]{0,99}$' },
    value: { type: 'string', minLength: 1, maxLength: 65536 }
  })
}
const settingsIn = object({
  planning_statement: nullable, repository_rules: nullable, setup_commands: nullable,
  branch_name: { type: 'string', minLength: 1, maxLength: 244, default: 'main' }
}, [])
const projectIn = object({
  name, github_owner: githubName, github_repo: githubName,
  status: { enum: ['active', 'inactive', 'archived'], default: 'active' },
  webhook_url: { type: ['string', 'null'], pattern: '^https?://[^/\\s]+', maxLength: 2048 },
  auto_merge_enabled: { type: 'boolean', default: false },
  auto_confirm_plans: { type: 'boolean', default: false },
  settings: settingsIn, secrets: secretsIn
}, ['name', 'github_owner', 'github_repo'])
const logIn = object({
  level: { enum: ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'] },
  message: { type: 'string', minLength: 1, maxLength: 10000 },
  component: { ...nullable, minLength: 1, maxLength: 100 },
  context: { type: 'object' },
  correlation_id: { ...nullable, minLength: 1, maxLength: 100 },
  project_id: { type: ['integer', 'null'] }, agent_run_id: { type: ['integer', 'null'] }
}, ['level', 'message'])
const params = object({ id: { type: 'integer', minimum: 1 } })

const createProject = db.transaction((request) => {
  const project = request.body
  const at = now()
  const settings = project.settings ?? { branch_name: 'main' }
  const row = sql.addProject.get(
    project.name, project.github_owner, project.github_repo, project.status,
    project.webhook_url ?? null, Number(project.auto_merge_enabled),
    Number(project.auto_confirm_plans), at, at)
  sql.addSettings.run(row.id, settings.planning_statement ?? null,
    settings.repository_rules ?? null, settings.setup_commands ?? null, settings.branch_name, at, at)
  const key = randomBytes(32)
  sql.addKey.run(row.id, encrypt(masterKey, `project-key:${row.id}`, key))
  for (const secret of project.secrets ?? []) {
    sql.putSecret.run(row.id, secret.key, seal(row.id, key, secret.key, secret.value), at, at)
  }
  audit(request, at, 'project.created', row.id, JSON.stringify(Object.keys(project)))
  return { row, key }
}).immediate

const upsertSecrets = db.transaction((request) => {
  const projectId = request.params.id
  const secrets = request.body.secrets
  const at = now()
  const stored = sql.key.get(projectId)
  if (stored === undefined) return null
  const key = unwrap(projectId, stored.wrapped)
  const present = new Set(sql.secrets.all(projectId).map((row) => row.key_name))
  const updated = secrets.filter((secret) => present.has(secret.key)).length
  for (const secret of secrets) {
    sql.putSecret.run(projectId, secret.key, seal(projectId, key, secret.key, secret.value), at, at)
  }
  audit(request, at, 'secrets.updated', projectId,
    JSON.stringify(secrets.map((secret) => secret.key)))
  return { created: secrets.length - updated, updated, unchanged: 0 }
}).immediate

const app = Fastify({ logger: false, keepAliveTimeout: 75000 })
if (isAudited) addTokens(app, db, dataDir)
const notFound = (reply) => reply.code(404).send({ status: 404 })

app.get('/api/projects/:id', { schema: { params, response: { 200: projectShape } } },
  (request, reply) => {
    const project = sql.project.get(request.params.id)
    return project === undefined ? notFound(reply) : reply.send(project)
  })

app.get('/api/projects/:id/full', { schema: { params, response: { 200: fullShape } } },
  (request, reply) => {
    const id = request.params.id
    const project = sql.project.get(id)
    if (project === undefined) return notFound(reply)
    const secrets = sql.secrets.all(id).map((row) =>
      ({ ...row, key: row.key_name, value: null, status: 'ok' }))
    reply.send({ project, settings: sql.settings.get(id), secrets, secret_count: secrets.length })
  })

app.get('/api/projects', {
  schema: {
    querystring: object({ limit: { type: 'integer', minimum: 1, maximum: 500, default: 50 } }, []),
    response: { 200: listShape }
  }
}, (request, reply) => {
  const limit = request.query.limit
  const rows = sql.page.all(limit + 1)
  const projects = rows.slice(0, limit)
  const more = rows.length > limit
  reply.send({ projects, next_cursor: more ? projects.at(-1).created_at : null })
})

app.post('/api/projects', { schema: { body: projectIn, response: { 201: projectShape } } },
  (request, reply) => {
    const { row, key } = createProject(request)
    remember(row.id, key)
    reply.code(201).send(row)
  })

app.put('/api/projects/:id/secrets', {
  schema: {
    params,
    body: object({ secrets: secretsIn }),
    response: { 200: object({ created: integer, updated: integer, unchanged: integer }) }
  }
}, (request, reply) => {
  const result = upsertSecrets(request)
  return result === null ? notFound(reply) : reply.send(result)
})

app.post('/api/logs', { schema: { body: logIn, response: { 201: object({ accepted: integer }) } } },
  (request, reply) => {
    const log = request.body
    sql.addLog.run(log.level, log.message, log.component ?? null, JSON.stringify(log.context ?? {}),
      log.correlation_id ?? null, log.project_id ?? null, log.agent_run_id ?? null, now())
    reply.code(201).send({ accepted: 1 })
  })

app.get('/bench/slow', (request, reply) =>
  reply.send(String(sql.slow.get(Number(request.query.size)).counted)))
app.get('/health', { config: { open: true } }, (request, reply) => reply.send({ status: 'healthy', service: 'fastify' }))

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => { db.close(); process.exit(0) })
}
await app.listen({ port: Number(port), host: '127.0.0.1' })
