// @vitest-environment jsdom
import { TasktideProvider } from '@tasktide/client/react'
import { createTestClient } from '@tasktide/client/testing'
import { render, screen, waitFor } from '@testing-library/react'
import { expect, test } from 'vitest'
import { Tasks } from './tasks'

test('a completed task is checked', async () => {
  const client = await createTestClient()
  const { id } = await client.tasks.add({ title: 'Book the ferry' })
  render(
    <TasktideProvider client={client}>
      <Tasks />
    </TasktideProvider>,
  )
  const box = await screen.findByRole<HTMLInputElement>('checkbox', { name: 'Book the ferry' })
  expect(box.checked).toBe(false)
  await client.tasks.complete(id)
  await waitFor(() => expect(box.checked).toBe(true))
  await client.close()
})
