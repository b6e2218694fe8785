import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'

/** When something in this folder was last changed, in milliseconds; what is built into it does not count. */
export function newest(folder) {
  const entries = readdirSync(folder, { withFileTypes: true })
  const times = entries.map((entry) => {
    const file = path.join(folder, entry.name)
    if (!entry.isDirectory()) return statSync(file).mtimeMs
    return ['dist', 'node_modules'].includes(entry.name) ? 0 : newest(file)
  })
  return Math.max(statSync(folder).mtimeMs, ...times)
}
