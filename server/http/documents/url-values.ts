import * as z from 'zod'

/** Schemas of texts in URLs. */

export function wholeNumber(min: number, max: number) {
  const remedy = `Use a whole number from ${min} to ${max}.`
  return z
    .string()
    .regex(/^\d{1,16}$/, remedy)
    .transform(Number)
    .pipe(z.int().min(min, remedy).max(max, remedy))
}

export function boolean() {
  return z
    .string()
    .toLowerCase()
    .pipe(z.enum(['true', 'false', '1', '0'], 'Use true or false.'))
    .transform((value) => value === 'true' || value === '1')
}
