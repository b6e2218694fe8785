import { useLayoutEffect, useRef, useState } from 'preact/hooks'

type TextElement = HTMLInputElement | HTMLTextAreaElement

/** From this share of the limit on, the field shows a count. */
const NEAR = 0.9

/**
 * Validates a field like the server: too long, or blank although required. `maxlength` would silently
 * truncate pasted text.
 */
export function useTextLimit<E extends TextElement>(
  limit: number | undefined,
  { initial = '', isRequired = false }: { initial?: string; isRequired?: boolean } = {},
) {
  const field = useRef<E>(null)
  const [text, setText] = useState(initial)
  const excess = limit !== undefined && text.length > limit
  const isBlank = isRequired && text !== '' && text.trim() === ''
  const fault = excess
    ? `Use at most ${inWords(limit)} characters (now ${inWords(text.length)}).`
    : isBlank
      ? 'Enter some text; this is blank.'
      : ''
  useLayoutEffect(() => field.current!.setCustomValidity(fault), [fault])
  const isNear = limit !== undefined && !excess && text.length > limit * NEAR
  return {
    field,
    /** Call with the current text. */
    look: setText,
    fault,
    hint: isNear ? `${inWords(text.length)} of ${inWords(limit)} characters.` : '',
  }
}

const inWords = (count: number) => count.toLocaleString('en')
