import { closeSync, openSync, readSync, renameSync, statSync } from 'node:fs'

const FULL = 10 * 1024 * 1024

/** The log of Postgres since `mark`, in a file, to be read after a crash. */
export interface PostgresLog {
  file: string
  mark: number
}

export function openLog(file: string): PostgresLog {
  closeSync(openSync(file, 'a', 0o600))
  if (statSync(file).size < FULL) return { file, mark: statSync(file).size }
  renameSync(file, `${file}.old`)
  return openLog(file)
}

export function tailOf({ file, mark }: PostgresLog): string {
  const size = statSync(file).size
  const from = Math.max(mark, size - 4096)
  const fd = openSync(file, 'r')
  const bytes = Buffer.alloc(size - from)
  readSync(fd, bytes, 0, bytes.length, from)
  closeSync(fd)
  return bytes.toString('utf8').trim().split('\n').slice(-15).join('\n')
}
