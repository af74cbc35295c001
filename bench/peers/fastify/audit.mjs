// Tokens in a table, and an audit whose rows are chained by a MAC, as Strongroom has them. Each
// request looks its token up; each change adds its row in the transaction of the change.

import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ORIGIN = '0'.repeat(64)
const chainKey = Buffer.from([...Array(32).keys()].map((n) => n + 32))
const tokenKey = Buffer.from([...Array(32).keys()].map((n) => n + 64))
const hmac = (key, text) => createHmac('sha256', key).update(text).digest('hex')

// Each value with its length in front, so that no two rows give the same text.
const field = (value) => value === null ? '-;' : `${String(value).length}:${value};`

export function addTokens (app, db, dataDir) {
  const file = join(dataDir, 'admin.token')
  if (!existsSync(file)) {
    const token = `sr_1_${randomBytes(32).toString('base64url')}`
    db.prepare('INSERT INTO api_tokens (name, mac, scopes) VALUES (?, ?, ?)')
      .run('admin', hmac(tokenKey, token), '["admin"]')
    writeFileSync(file, token, { mode: 0o600 })
  }
  const find = db.prepare(
    'SELECT id, name, scopes, expires_at, revoked_at FROM api_tokens WHERE mac = ?')

  app.decorateRequest('principal', null)
  app.addHook('onRequest', (request, reply, done) => {
    if (request.routeOptions.config.open) return done()
    const given = request.headers.authorization ?? ''
    const token = given.startsWith('Bearer ') ? find.get(hmac(tokenKey, given.slice(7))) : undefined
    if (token === undefined || token.revoked_at !== null ||
        (token.expires_at !== null && token.expires_at <= new Date().toISOString())) {
      return reply.code(401).send({ status: 401 })
    }
    if (!JSON.parse(token.scopes).includes('admin')) return reply.code(403).send({ status: 403 })
    request.principal = token
    done()
  })
}

export function chainedAudit (db) {
  const last = db.prepare('SELECT mac FROM audit_entries ORDER BY id DESC LIMIT 1')
  const add = db.prepare('INSERT INTO audit_entries (at, actor, action, target, project_id, fields,' +
    ' actor_token_id, request_id, address, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  return (request, at, action, projectId, fields) => {
    const row = [at, request.principal.name, action, `projects/${projectId}`, projectId, fields,
      request.principal.id, request.id, request.ip]
    // Read each time: a transaction that was rolled back must not leave its MAC behind.
    const mac = hmac(chainKey, field(last.get()?.mac ?? ORIGIN) + row.map(field).join(''))
    add.run(...row, mac)
  }
}
