import { useLayoutEffect, useRef, useState } from 'preact/hooks'

type TextElement = HTMLInputElement | HTMLTextAreaElement

/** So many of a limit are worth a word. */
const NEAR = 0.9

/**
 * Says in the field what the server would refuse: too long a text, or a blank one where something is
 * required. `maxlength` would cut a long text that is pasted, without a word.
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
    ? `Use at most ${inWords(limit)} characters: these are ${inWords(text.length)}.`
    : isBlank
      ? 'Write something: it is blank.'
      : ''
  useLayoutEffect(() => field.current!.setCustomValidity(fault), [fault])
  const isNear = limit !== undefined && !excess && text.length > limit * NEAR
  return {
    field,
    /** To be called with what is in the field now. */
    look: setText,
    fault,
    hint: isNear ? `${inWords(text.length)} of ${inWords(limit)} characters.` : '',
  }
}

const inWords = (count: number) => count.toLocaleString('en')
