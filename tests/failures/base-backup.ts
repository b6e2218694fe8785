import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { connect } from '../../server/database/connect.ts'

/** The folder of the files of Postgres in a `dataDir`. */
export function clusterIn(dataDir: string): string {
  return path.join(dataDir, readdirSync(dataDir).find((name) => /^pg\d+$/.test(name))!)
}

/** Copies the files of a database while it runs. */
export async function backUp(url: string, cluster: string, to: string): Promise<void> {
  const admin = connect({ url, poolSize: 1, tls: 'off' })
  await admin.raw("select pg_backup_start('standby', true)")
  execFileSync('cp', ['-a', cluster, to])
  const { rows } = await admin.raw('select labelfile from pg_backup_stop(false)')
  writeFileSync(path.join(to, 'backup_label'), rows[0].labelfile)
  rmSync(path.join(to, 'postmaster.pid'))
  await admin.destroy()
}
