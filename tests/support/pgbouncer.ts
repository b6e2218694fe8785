import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { findProgram, freePort, isInstalled, runProgram } from './programs.ts'

const NOBODY = 65_534

const MISSING = `No PgBouncer 1.21 or later for the stories with it: apt-get install pgbouncer, or as root
.ci/servers, which builds it where Debian has an older one.`

/** Not one that loses statements which are prepared by name. */
function findPgBouncer(): string | undefined {
  const file = findProgram('pgbouncer')
  const output = file && execFileSync(file, ['--version'], { encoding: 'utf8' })
  const [, major, minor] = /PgBouncer (\d+)\.(\d+)/.exec(output ?? '') ?? []
  return Number(major) > 1 || Number(minor) >= 21 ? file : undefined
}

/** Whether there is a PgBouncer on this machine that is new enough. If not, warns; in CI throws. */
export const hasPgBouncer = (): boolean => isInstalled(findPgBouncer(), MISSING)

export interface PgBouncer {
  /** The same database through it. */
  url: string
  kill(): Promise<void>
  /** At the same address. */
  restart(): Promise<void>
  close(): Promise<void>
}

/**
 * PgBouncer in transaction mode.
 *
 * @param settings those of docs/operations.md, or others
 * @param databaseUrl of a server that asks for no password, over TCP
 */
export async function startPgBouncer(databaseUrl: string, settings: string): Promise<PgBouncer> {
  const target = new URL(databaseUrl)
  const port = await freePort()
  const folder = mkdtempSync(path.join(tmpdir(), 'tasktide-pgbouncer-'))
  const file = path.join(folder, 'pgbouncer.ini')
  writeFileSync(
    file,
    `[databases]
* = host=${target.hostname} port=${target.port} user=${target.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
${settings}
`,
  )
  // It refuses to run as root.
  const account = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}
  chmodSync(folder, 0o755)
  const run = () => runProgram(findPgBouncer()!, [file], 'process up', account)
  let server = await run()
  target.port = String(port)
  return {
    url: target.href,
    kill: () => server.kill(),
    async restart() {
      server = await run()
    },
    async close() {
      await server.kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
