import { gunzipSync, gzipSync } from 'node:zlib'

const MANIFEST = 'package/package.json'
/** A tar archive has for each file a header of this size, and its bytes filled up to a multiple of it. */
const BLOCK = 512
const [SIZE, CHECKSUM] = [124, 148]

/** The package with a homepage in its package.json, for `npm docs` and the pages of registries. */
export function withHomepage(tarball: Buffer, homepage: string): Buffer {
  const tar = gunzipSync(tarball)
  for (let at = 0; tar[at]; ) {
    const content = at + BLOCK
    const size = Number.parseInt(tar.toString('latin1', at + SIZE, at + SIZE + 12), 8)
    const end = content + filledUp(size)
    if (tar.toString('latin1', at, at + MANIFEST.length + 1) === `${MANIFEST}\0`) {
      const manifest = JSON.parse(tar.toString('utf8', content, content + size))
      const text = JSON.stringify({ ...manifest, homepage }, null, 2)
      const entry = entryOf(tar.subarray(at, content), Buffer.from(text))
      return gzipSync(Buffer.concat([tar.subarray(0, at), entry, tar.subarray(end)]))
    }
    at = end
  }
  throw new Error(`The tarball of the client has no ${MANIFEST}.`)
}

/** A file with the header of its former content. */
function entryOf(former: Buffer, content: Buffer): Buffer {
  const entry = Buffer.alloc(BLOCK + filledUp(content.length))
  former.copy(entry)
  entry.write(`${octal(content.length, 11)} `, SIZE)
  // The sum is taken with blanks in its own place.
  entry.fill(' ', CHECKSUM, CHECKSUM + 8)
  const sum = entry.subarray(0, BLOCK).reduce((total, byte) => total + byte)
  entry.write(`${octal(sum, 6)}\0 `, CHECKSUM)
  content.copy(entry, BLOCK)
  return entry
}

const filledUp = (size: number) => Math.ceil(size / BLOCK) * BLOCK
const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0')
