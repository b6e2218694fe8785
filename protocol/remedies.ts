import type * as z from 'zod'

/**
 * What to send instead of an invalid value, where its schema does not say so itself: the words of `faultIn` rather
 * than those of zod. To be given to `safeParse` as `error`.
 */
export const remedyFor: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      return REMEDIES[issue.expected]
    case 'invalid_value':
      return oneOf(issue.values)
    case 'too_small':
    case 'too_big': {
      const isLeast = issue.code === 'too_small'
      const limit = Number(isLeast ? issue.minimum : issue.maximum)
      return `Use ${isLeast ? 'at least' : 'at most'} ${limit}${unitOf(issue.origin, limit)}.`
    }
    case 'unrecognized_keys':
      return `Remove the unknown ${issue.keys.length === 1 ? 'name' : 'names'} ${issue.keys.join(', ')}.`
    default:
      return undefined
  }
}

const REMEDIES: Readonly<Record<string, string>> = {
  string: 'Use text.',
  number: 'Use a number.',
  int: 'Use a whole number.',
  boolean: 'Use true or false.',
  array: 'Use a list.',
  tuple: 'Use a list.',
  object: 'Use an object.',
  record: 'Use an object.',
  null: 'Use null.',
}

const oneOf = (values: readonly unknown[]) =>
  values.length === 1 ? `Use ${values[0]}.` : `Use one of ${values.join(', ')}.`

/** @param origin the type of what is too small or too big */
function unitOf(origin: string, count: number): string {
  const unit = { string: 'character', array: 'value', set: 'value' }[origin]
  return unit ? ` ${unit}${count === 1 ? '' : 's'}` : ''
}
