import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Config } from '../runtime/config.ts'

/** What tokens and links are signed with; the others, former ones, only check. */
export type Secrets = readonly [current: string, ...former: string[]]

export function secretsOf({
  SECRET_KEY,
  SECRET_KEY_PREVIOUS,
  DATA_DIR,
}: Pick<Config, 'SECRET_KEY' | 'SECRET_KEY_PREVIOUS' | 'DATA_DIR'>): Secrets {
  const former = SECRET_KEY_PREVIOUS ? [SECRET_KEY_PREVIOUS] : []
  return [SECRET_KEY ?? keptSecret(DATA_DIR), ...former]
}

/**
 * The key that development signs with: made once and kept, so that a restart signs nobody out.
 * In production the configuration insists on SECRET_KEY.
 */
export function keptSecret(dataDir: string): string {
  const file = path.join(dataDir, 'secret_key')
  if (!existsSync(file)) {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    // Written beside and linked: whoever finds the file finds the whole key, also after a crash.
    const draft = `${file}.${process.pid}`
    writeFileSync(draft, randomBytes(32).toString('base64url'), { mode: 0o600 })
    try {
      linkSync(draft, file)
    } catch (error) {
      // Another process was first; its key is the one.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      rmSync(draft)
    }
  }
  const secret = readFileSync(file, 'utf8').trim()
  if (secret.length < 32)
    throw new Error(`${file} is damaged: delete it, and everybody signs in again.`)
  return secret
}
