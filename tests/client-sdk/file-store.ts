import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { KeyValueStore } from '../../client-sdk/key-value.ts'

/** What MMKV is in React Native, with a file for each key. */
export function fileStore(folder: string): KeyValueStore {
  mkdirSync(folder, { recursive: true })
  const fileOf = (key: string) => path.join(folder, encodeURIComponent(key))
  return {
    getString(key) {
      try {
        return readFileSync(fileOf(key), 'utf8')
      } catch {
        return undefined
      }
    },
    set: (key, value) => writeFileSync(fileOf(key), value),
    delete: (key) => rmSync(fileOf(key), { force: true }),
    getAllKeys: () => readdirSync(folder).map(decodeURIComponent),
  }
}
