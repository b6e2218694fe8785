import { expect, test } from 'vitest'
import { setStage } from './stage.ts'

test('a node whose line to the database is cut answers 503, and serves again without a restart', async () => {
  const { places, people } = await setStage({ nodes: 2 })
  const [one, other] = [places[0]!, places[1]!]
  const [ann] = await people(1)
  const [atOne, atOther] = [ann!.at(one), ann!.at(other)]
  expect((await atOne('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)

  one.line.cut()
  const refused = await atOne('GET', '/api/tasks/')
  expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await atOne('GET', '/readyz')).status).toBe(503)
  expect((await atOther('GET', '/api/tasks/')).body.count).toBe(1)

  one.line.pass()
  await expect
    .poll(async () => (await atOne('GET', '/readyz')).status, { timeout: 5_000 })
    .toBe(200)
  expect((await atOne('GET', '/api/tasks/')).body.count).toBe(1)
})
