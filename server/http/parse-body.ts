import { invalid } from '../../protocol/index.ts'
import { pause } from '../runtime/pauses.ts'
import { decodeJson, type JsonText, parseElements, parseJson } from './body.ts'
import type { Body } from './operation.ts'
import { parse, parseAt } from './problems.ts'

/** To decode and parse a longer text takes so long that others have a turn in between. */
const LONG_BYTES = 256 * 1024

/**
 * The value of a body, validated. A large list is parsed and validated element by element, with pauses.
 *
 * @throws Problem `malformed` or `invalid`, the latter about the first invalid element
 */
export async function parseBody({ schema, elements }: Body, text: JsonText): Promise<unknown> {
  if (!elements || text.commas.length === 0) {
    const isLong = text.bytes.length > LONG_BYTES
    if (isLong) await pause()
    const decoded = decodeJson(text)
    if (isLong) await pause()
    const value = parseJson(decoded)
    if (isLong) await pause()
    return parse(schema, value, 'body')
  }
  if (text.commas.length >= elements.max)
    throw invalid('body', { '': [`Send at most ${elements.max} at once.`] })
  const values: unknown[] = []
  for (const element of parseElements(text)) {
    const pausing = pause()
    if (pausing) await pausing
    values.push(
      elements.isPlain(element)
        ? element
        : parseAt([values.length], elements.schema, element, 'body'),
    )
  }
  return values
}
