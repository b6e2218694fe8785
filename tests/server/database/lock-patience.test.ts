import { expect, test } from 'vitest'
import { createLockPatience } from '../../../server/database/lock-patience.ts'

const locked = () => Object.assign(new Error('locked'), { code: '55P03' })

test('those who wait for locks come back, but never more of them at a time than a pool can spare', async () => {
  const patiently = createLockPatience(2)
  let [running, most] = [0, 0]
  const work = (failures: number) => {
    let attempts = 0
    return async () => {
      if (attempts++ === 0) throw locked()
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      running--
      if (attempts <= failures) throw locked()
      return attempts
    }
  }
  const answers = [1, 1, 2, 1, 2, 1, 1, 1].map((failures) => patiently(work(failures)))
  expect(await Promise.all(answers)).toEqual([2, 2, 3, 2, 3, 2, 2, 2])
  expect(most).toBe(2)
})

test('other errors are reported at once', async () => {
  const patiently = createLockPatience(1)
  const failing = patiently(() => Promise.reject(new Error('no')))
  await expect(failing).rejects.toThrow('no')
})
