import { invalid } from '../../protocol/index.ts'
import { pause } from '../runtime/pauses.ts'
import { type JsonText, parseElements, parseJson } from './body.ts'
import type { Body } from './operation.ts'
import { parse, parseAt } from './problems.ts'

/**
 * The value of a body, validated. A large list is parsed and validated element by element, with pauses.
 *
 * @throws Problem `malformed` or `invalid`, the latter about the first invalid element
 */
export async function parseBody({ schema, elements }: Body, text: JsonText): Promise<unknown> {
  if (!elements || text.commas.length === 0) return parse(schema, parseJson(text), 'body')
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
