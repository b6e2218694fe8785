import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

/**
 * Who may import whom, besides its own room: files, folders with a closing slash (and `**` with all in
 * them), packages. What stands in `types` may be imported for its types alone. What is not listed is not
 * allowed.
 */
const ALLOWED: Readonly<Record<string, { values: string; types?: string }>> = {
  protocol: { values: 'zod' },
  migrations: { values: '', types: 'knex' },
  'server/runtime': {
    values: 'protocol/index.ts @opentelemetry/ pino pino-pretty prom-client zod node:',
  },
  'server/sync': { values: 'protocol/index.ts uuid node:crypto' },
  'server/couch': {
    values: 'protocol/index.ts server/sync/ pouchdb-selector-core node:crypto',
  },
  'server/store': {
    values: `protocol/index.ts server/sync/store.ts server/sync/positions.ts server/sync/journal.ts
      server/sync/kept-answers.ts server/sync/limits.ts server/sync/quota.ts server/sync/revisions.ts server/runtime/long-text.ts server/runtime/pauses.ts server/database/connect.ts server/database/pool.ts server/database/pool-queue.ts
      node:crypto node:timers/promises`,
    types: 'pg server/database/replica.ts',
  },
  'server/database': {
    values: `migrations/index.ts server/database/embedded/ server/runtime/encryption.ts server/runtime/host-urls.ts
      server/runtime/time-limit.ts graphile-worker knex pg node:`,
    types: 'server/runtime/',
  },
  'server/database/embedded': { values: 'node:' },
  'server/jobs': {
    values: 'server/database/connect.ts server/database/connection.ts graphile-worker node:',
    types: 'pg server/runtime/log.ts',
  },
  'server/mail': {
    values:
      'server/database/connect.ts server/jobs/queue.ts server/mail/templates/ server/runtime/encryption.ts nodemailer uuid',
    types: 'server/runtime/',
  },
  'server/mail/templates': { values: '' },
  'server/accounts': {
    values: `protocol/index.ts server/database/connect.ts server/mail/outbox.ts server/jobs/queue.ts
      jose bcrypt bowser uuid validator otplib @simplewebauthn/server @simplewebauthn/server/helpers @zxcvbn-ts/language-common node:`,
    types:
      'server/mail/delivery.ts server/mail/templates/template.ts server/runtime/config.ts server/runtime/log.ts',
  },
  'server/reminders': {
    values: `protocol/index.ts server/database/connect.ts server/jobs/queue.ts server/mail/delivery.ts
      server/mail/outbox.ts server/sync/edit.ts node:crypto`,
    types: 'server/accounts/secrets.ts server/mail/templates/template.ts server/sync/store.ts',
  },
  'server/realtime': {
    values: `protocol/index.ts server/database/connect.ts server/database/connection.ts
      server/runtime/call-at.ts server/runtime/places.ts server/runtime/time-limit.ts
      server/runtime/tracing.ts server/sync/cursors.ts server/sync/positions.ts @redis/client socket.io node:`,
    types: 'server/accounts/ server/sync/store.ts server/runtime/',
  },
  'server/health': {
    values: `protocol/index.ts server/database/ server/jobs/queue.ts server/reminders/reminders.ts
      server/runtime/time-limit.ts`,
    types: 'server/realtime/hints.ts server/runtime/',
  },
  'server/http': {
    values: `protocol/index.ts server/accounts/permissions.ts server/sync/kept-answers.ts server/sync/store.ts server/sync/within.ts
      server/runtime/call-at.ts server/runtime/bytes-in-flight.ts server/runtime/long-text.ts server/runtime/pauses.ts helmet cors node:`,
    types:
      'express zod server/accounts/ server/database/connect.ts server/database/pool.ts server/runtime/',
  },
  'server/http/documents': {
    values:
      'protocol/index.ts server/accounts/permissions.ts server/http/ server/runtime/pauses.ts server/sync/ uuid zod',
    types: 'server/accounts/sessions.ts server/store/lists.ts express node:http',
  },
  'server/http/replication': {
    values: `protocol/index.ts server/http/ server/http/documents/url-values.ts server/http/documents/list-answer.ts
      server/sync/cursors.ts server/sync/digest.ts server/sync/positions.ts server/sync/replicate.ts
      server/runtime/pauses.ts server/runtime/places.ts zod`,
    types: `server/sync/store.ts server/realtime/followers.ts server/runtime/bytes-in-flight.ts
      server/runtime/metrics.ts express node:http`,
  },
  'server/http/couch': {
    values: `protocol/index.ts server/http/ server/couch/ server/accounts/tokens.ts server/runtime/places.ts zod
      node:crypto`,
    types: `server/accounts/ server/realtime/followers.ts server/runtime/bytes-in-flight.ts
      server/sync/store.ts express node:http`,
  },
  'server/http/accounts': {
    values: `protocol/index.ts server/http/ server/http/documents/ server/reminders/unsubscribing.ts server/runtime/pauses.ts
      zod node:`,
    types: 'express server/accounts/ server/sync/ server/store/export.ts server/runtime/log.ts',
  },
  'server/http/about': {
    values: `protocol/index.ts server/accounts/permissions.ts server/http/
      server/health/readiness.ts server/runtime/lazily.ts express helmet openapi3-ts/oas31 swagger-ui-express yaml zod
      node:`,
    types: 'server/runtime/metrics.ts',
  },
  'server/processes': { values: 'protocol/index.ts server/** express uuid node:', types: 'zod' },
  'client-sdk/runtime': { values: 'rxjs', types: 'protocol/problem.ts protocol/shape.ts' },
  'client-sdk/tabs': { values: 'client-sdk/runtime/ rxjs', types: 'rxdb' },
  // Past the index of the protocol, which would bring the validators into every app.
  'client-sdk/local': {
    values: `protocol/index.ts protocol/canonical.ts protocol/faults.ts protocol/settle.ts protocol/for-good.ts protocol/fnv1a.ts protocol/rx-schema.ts protocol/search.ts client-sdk/runtime/ client-sdk/tabs/
      fractional-indexing rxdb rxdb/plugins/local-documents rxdb/plugins/storage-memory rxjs`,
    types: 'protocol/resource.ts',
  },
  'client-sdk/session': {
    values: 'protocol/headers.ts client-sdk/local/shapes.ts client-sdk/runtime/ rxdb rxjs',
    types: 'client-sdk/local/storage.ts protocol/shape.ts',
  },
  'client-sdk/sync': {
    values: `protocol/digest.ts protocol/follow.ts protocol/for-good.ts protocol/headers.ts protocol/media-types.ts client-sdk/local/ client-sdk/runtime/ client-sdk/session/
      rxdb rxjs socket.io-client`,
    types: 'protocol/live.ts protocol/problem.ts protocol/replication.ts',
  },
  'client-sdk': {
    values:
      'protocol/canonical.ts client-sdk/** rxdb rxdb/plugins/storage-dexie rxdb/plugins/storage-memory rxjs react',
  },
  web: {
    values:
      '@tasktide/client @tasktide/client/dexie @tasktide/client/react preact preact/hooks rxjs',
  },
}

/** A folder; the web app is one room with all of its folders. */
const roomOf = (file: string) => (file.startsWith('web/') ? 'web' : path.posix.dirname(file))

const allowed = (room: string) => {
  const { values, types = '' } = ALLOWED[room] ?? { values: '' }
  return { values: words(values), types: words(types) }
}
const words = (text: string) => text.split(/\s+/).filter(Boolean)

const files = ['protocol', 'server', 'migrations', 'client-sdk', 'web'].flatMap(sourcesIn)
const imports = files.flatMap((file) => importsIn(file, readFileSync(file, 'utf8')))

test.each(Object.keys(ALLOWED))('%s imports only what it may', (room) => {
  const own = files.filter((file) => roomOf(file) === room)
  expect(own).not.toEqual([])
  expect(own.flatMap((file) => strangers(file, readFileSync(file, 'utf8')))).toEqual([])
})

test('between rooms, imports go one way', () => {
  expect(circles(imports)).toEqual([])
  const both = [
    { file: 'server/sync/a.ts', target: 'server/store/b.ts' },
    { file: 'server/store/b.ts', target: 'protocol/index.ts' },
    { file: 'server/store/c.ts', target: 'server/sync/d.ts' },
  ]
  expect(circles(both).sort()).toEqual(['server/store', 'server/sync'])
})

test('only the clock of the database decides on the server: no other file reads that of the machine', () => {
  const readers = files.filter(
    (file) =>
      file.startsWith('server/') &&
      /\bDate\.now\(\)|\bnew Date\(\)/.test(readFileSync(file, 'utf8')),
  )
  expect(readers.sort()).toEqual([
    'server/database/clock.ts',
    'server/database/embedded/postgres-cluster.ts', // compares it with the time of a file
    'server/processes/demo-data.ts',
  ])
})

test('components of the web app write through edits.tsx alone, where no failed write is overlooked', () => {
  const whole = files.filter(
    (file) => roomOf(file) === 'web' && /\bClientContext\b/.test(readFileSync(file, 'utf8')),
  )
  expect(whole.map((file) => path.posix.basename(file)).sort()).toEqual([
    'client-context.ts',
    'documents.ts',
    'edits.tsx',
    'main.tsx',
  ])
})

test('every room is in the table', () => {
  expect(files.filter((file) => !(roomOf(file) in ALLOWED))).toEqual([])
})

test('everything that the table allows is in use', () => {
  const idle = Object.keys(ALLOWED).flatMap((room) => {
    const { values, types } = allowed(room)
    const own = imports.filter(({ file }) => roomOf(file) === room)
    const unused = (targets: readonly string[], typeOnly: boolean) =>
      targets.filter(
        (target) => !own.some((one) => matches(target, one.target) && (typeOnly || !one.typeOnly)),
      )
    return [...unused(values, false), ...unused(types, true)].map((name) => `${room} -> ${name}`)
  })
  expect(idle).toEqual([])
})

test.each<[string, string, string[]]>([
  ['protocol/tasks.ts', `import { v7 } from 'uuid'`, ['uuid']],
  ['protocol/tasks.ts', `import { createHash } from 'node:crypto'`, ['node:crypto']],
  ['protocol/tasks.ts', `import fs from 'fs'`, ['fs']],
  [
    'protocol/tasks.ts',
    `import type { Store } from '../server/sync/store.ts'`,
    ['server/sync/store.ts'],
  ],
  ['protocol/tasks.ts', `import { z } from 'zod'`, ['zod (say: import * as z)']],
  ['protocol/tasks.ts', `import z from 'zod'`, ['zod (say: import * as z)']],
  ['server/runtime/config.ts', `import { z } from 'zod'`, ['zod (say: import * as z)']],
  ['protocol/tasks.ts', `import * as z from 'zod'\nimport type * as zod from 'zod'`, []],
  ['protocol/tasks.ts', `import { z } from 'zod/mini'`, ['zod/mini']],
  ['server/sync/judge.ts', `import 'express'`, ['express']],
  ['server/sync/judge.ts', `export * from 'knex'`, ['knex']],
  [
    'server/sync/judge.ts',
    `export { run } from '../database/connect.ts'`,
    ['server/database/connect.ts'],
  ],
  [
    'server/sync/judge.ts',
    `import {\n  type A,\n  b,\n} from '../store/postgres.ts'`,
    ['server/store/postgres.ts'],
  ],
  ['server/sync/judge.ts', `const pg = await import('pg')`, ['pg']],
  ['server/sync/judge.ts', `const x = await import(name)`, ['import(name)']],
  ['server/sync/judge.ts', `let x: import('pg').Client`, ['pg']],
  ['server/sync/judge.ts', `const pg = require('pg')`, ['pg']],
  [
    'server/sync/judge.ts',
    `import { tasks } from '../../protocol/tasks.ts'`,
    ['protocol/tasks.ts'],
  ],
  ['server/sync/judge.ts', `import { edit } from './edit.ts'`, []],
  ['server/store/lists.ts', `import type { Client } from 'pg'`, []],
  ['server/store/lists.ts', `import { type Client } from 'pg'`, []],
  ['server/store/lists.ts', `import knex, { type Knex } from 'knex'`, ['knex']],
  ['server/store/lists.ts', `import { edit } from '../sync/edit.ts'`, ['server/sync/edit.ts']],
  ['server/store/lists.ts', `import express from 'express-like'`, ['express-like']],
  ['server/http/documents/rest.ts', `import { createServer } from 'node:https'`, ['node:https']],
  [
    'server/http/documents/rest.ts',
    `import type { Server } from '../../../tests/support/server.ts'`,
    ['tests/support/server.ts'],
  ],
  ['server/jobs/mail.ts', `import 'zod'`, ['zod']],
  ['migrations/0003_x.ts', `import { tasks } from '../protocol/index.ts'`, ['protocol/index.ts']],
])('the check sees through %s: %j', (file, source, expected) => {
  expect(strangers(file, source)).toEqual(expected.map((target) => `${file} -> ${target}`))
})

const named = [...files, ...sourcesIn('tests')]

test('no file is a drawer for everything', () => {
  expect(named.filter(isDrawer)).toEqual([])
  expect(
    ['server/utils.ts', 'tests/helpers/a.ts', 'protocol/types.ts'].filter(isDrawer),
  ).toHaveLength(3)
})

test('files are named in kebab-case', () => {
  const numbered = /^\d{4}_[a-z]+(_[a-z]+)*\.ts$/
  const misnamed = named.filter((file) => {
    const name = path.posix.basename(file)
    return file.startsWith('migrations/')
      ? !numbered.test(name) && name !== 'index.ts'
      : !isKebab(name)
  })
  expect(misnamed).toEqual([])
  expect(['Store.ts', 'rowsOf.ts', 'rows_of.ts', 'rows-.ts'].filter(isKebab)).toEqual([])
})

const isKebab = (name: string) => /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.tsx?$/.test(name)

function isDrawer(file: string): boolean {
  return file.split('/').some((part) => /^(utils?|helpers?|common|types|lib|misc)(\.|$)/.test(part))
}

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(
      (file) => /(?<!\.d)\.tsx?$/.test(file) && !/node_modules|^dist\b|\bgenerated\b/.test(file),
    )
    .map((file) => `${folder}/${file.replaceAll(path.sep, '/')}`)
}

/** The imports of a file that the table does not allow. */
function strangers(file: string, source: string): string[] {
  const room = roomOf(file)
  const { values, types } = allowed(room)
  return importsIn(file, source)
    .filter(({ target, typeOnly, clause }) => {
      if (target === 'zod' && values.includes('zod')) return !/^(type )?\* as z(od)?$/.test(clause)
      const known = [...values, ...(typeOnly ? types : [])]
      return roomOf(target) !== room && !known.some((one) => matches(one, target))
    })
    .map(({ target }) => {
      const hint = target === 'zod' && values.includes('zod') ? ' (say: import * as z)' : ''
      return `${file} -> ${target}${hint}`
    })
}

/** The rooms that import each other, or lie between such. */
function circles(all: readonly Pick<Import, 'file' | 'target'>[]): string[] {
  const arrows = all.map(({ file, target }) => [roomOf(file), roomOf(target)] as const)
  let rooms = [...new Set(arrows.map(([from]) => from))]
  const isEnd = (room: string) =>
    !arrows.some(([from, to]) => from === room && to !== room && rooms.includes(to))
  while (rooms.some(isEnd)) {
    const ends = rooms.filter(isEnd)
    rooms = rooms.filter((room) => !ends.includes(room))
  }
  return rooms
}

function matches(allowed: string, target: string): boolean {
  if (allowed.endsWith('/')) return `${path.posix.dirname(target)}/` === allowed
  if (/(:|\*\*)$/.test(allowed)) return target.startsWith(allowed.replace('**', ''))
  return target === allowed
}

interface Import {
  file: string
  /** A path from the top folder, a package, or `import(expression)`. */
  target: string
  /** What stands between `import` and `from`. */
  clause: string
  typeOnly: boolean
}

/** Every import, re-export, `import()` and `require()`, those of types included. */
function importsIn(file: string, source: string): Import[] {
  const statements = [
    ...source.matchAll(/^\s*(?:import|export)\s+([^'"`;=]*?)\s*\bfrom\s*['"]([^'"]+)['"]/gm),
  ].map(([, clause, specifier]) => ({ clause: clause!, specifier: specifier! }))
  const bare = [...source.matchAll(/^\s*import\s*['"]([^'"]+)['"]/gm)]
  const called = [
    ...source.matchAll(/(?<![\w.$])(?:import|require)\s*\(\s*(['"]?)([^'")]*)\1\s*\)/g),
  ]
  return [
    ...statements,
    ...bare.map(([, specifier]) => ({ clause: '', specifier: specifier! })),
    ...called.map(([, quote, specifier]) => ({
      clause: '',
      specifier: quote ? specifier! : `import(${specifier})`,
    })),
  ].map(({ clause, specifier }) => ({
    file,
    clause,
    target: specifier.startsWith('.')
      ? path.posix.join(path.posix.dirname(file), specifier)
      : specifier,
    typeOnly: isTypeOnly(clause),
  }))
}

/** `type { A }`, `type * as a`, `{ type A, type B }`. */
function isTypeOnly(clause: string): boolean {
  if (/^type\s/.test(clause)) return true
  const listed = /^\{([^}]*)\}$/.exec(clause)?.[1]
  return listed?.split(',').every((name) => /^\s*(type\s|$)/.test(name)) ?? false
}
