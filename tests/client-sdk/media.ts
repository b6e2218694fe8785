import sqlite from 'node-sqlite3-wasm'
import { type KeyValueStore, keyValueStorage } from '../../client-sdk/key-value.ts'
import type { Storage } from '../../client-sdk/local/storage.ts'
import { sqliteStorage } from '../../client-sdk/sqlite.ts'

/** Does a step that changes a medium: or not, or only half of it. */
export type Step = (apply: () => unknown, applyHalf: () => unknown) => unknown

/** What outlives an app: the place where a storage keeps its documents. */
export interface Medium {
  /** A storage on it, for an app that starts. Each of its changes goes through `step`. */
  storage(step?: Step): Storage
  /** How many characters have been moved in and out so far. */
  moved(): number
  /** How many there are. */
  size(): number
  close(): void
}

const asItIs: Step = (apply) => apply()

export function keyValueMedium(kept = new Map<string, string>()): Medium {
  let moved = 0
  const count = <T extends string | undefined>(text: T) => {
    moved += text?.length ?? 0
    return text
  }
  return {
    moved: () => moved,
    size: () => [...kept.values()].reduce((sum, { length }) => sum + length, 0),
    close: () => {},
    storage: (step = asItIs) => keyValueStorage(keyValueStore(kept, step, count)),
  }
}

/** As MMKV is, with faults. */
export function keyValueStore(
  kept: Map<string, string>,
  step: Step = asItIs,
  count: <T extends string | undefined>(text: T) => T = (text) => text,
): KeyValueStore {
  return {
    getString: (key) => count(kept.get(key)),
    set: (key, value) =>
      void step(
        () => kept.set(key, count(value)),
        () => kept.set(key, value.slice(0, value.length / 2)),
      ),
    remove: (key) =>
      step(
        () => kept.delete(key),
        asItIs.bind(
          null,
          () => {},
          () => {},
        ),
      ),
    getAllKeys: () => [...kept.keys()],
  }
}

export function sqliteMedium(): Medium {
  const database = new sqlite.Database(':memory:')
  let moved = 0
  const count = (row: object) => {
    for (const value of Object.values(row)) moved += String(value).length
  }
  const execute = (statement: string, parameters: string[]) => {
    count(parameters)
    const rows = database.all(statement, parameters)
    rows.forEach(count)
    return rows
  }
  return {
    moved: () => moved,
    size: () =>
      Number(Object.values(database.get('select sum(length(body)) from tasktide_documents')!)[0]),
    close: () => database.close(),
    storage: (step = asItIs) =>
      sqliteStorage({
        // Drivers of phones answer later.
        execute: async (statement, parameters) => {
          await undefined
          if (!/^(insert|delete)/.test(statement)) return execute(statement, parameters)
          return step(
            () => execute(statement, parameters),
            () => {},
          ) as object[]
        },
      }),
  }
}

/** As drivers of phones are: a file, and answers that come later. */
export function sqliteFile(file: string) {
  const database = new sqlite.Database(file)
  return {
    execute: async (statement: string, parameters: string[]) =>
      database.all(statement, parameters) as object[],
  }
}

export const MEDIA: readonly [string, () => Medium][] = [
  ['a key-value store', () => keyValueMedium()],
  ['SQLite', sqliteMedium],
]
