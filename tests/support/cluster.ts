import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestProject } from 'vitest/node'
import { connect } from '../../server/database/connect.ts'
import { startEmbeddedPostgres } from '../../server/database/embedded/embedded-postgres.ts'
import { migrate } from '../../server/database/migrate.ts'

const TEMPLATE = 'tasktide_template'

/** vitest globalSetup: one Postgres for the run, with a migrated template that each file copies. */
export default async function setup({ provide }: TestProject) {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'tasktide-tests-'))
  // The data does not outlive the run, so it need not be durable.
  const settings = {
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    max_connections: '200',
  }
  const postgres = await startEmbeddedPostgres({ dataDir, settings })
  const admin = connectTo(postgres.url)
  await admin.raw(`create database ${TEMPLATE}`)
  await admin.destroy()
  const template = connectTo(databaseUrl(postgres.url, TEMPLATE))
  await migrate(template)
  await template.destroy()
  provide('adminUrl', postgres.url)
  provide('template', TEMPLATE)
  return async () => {
    await postgres.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
}

export function connectTo(url: string) {
  return connect({ url, poolSize: 8, tls: 'off', statementTimeoutMs: 30_000 })
}

export function databaseUrl(adminUrl: string, name: string): string {
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return url.toString()
}

/** The URL of a database through a proxy that listens on this machine. */
export function urlThrough(proxy: Server, databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.search = ''
  url.hostname = '127.0.0.1'
  url.port = String((proxy.address() as AddressInfo).port)
  return url.toString()
}

declare module 'vitest' {
  interface ProvidedContext {
    adminUrl: string
    template: string
  }
}
