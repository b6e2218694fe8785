import { ended, session, signIn, signOut } from './session'
import { openTasks, type State, type Task, type Tasks } from './tasks'

const find = <E extends HTMLElement>(selector: string) => document.querySelector<E>(selector)!
const signInForm = find<HTMLFormElement>('#sign-in')
const fault = find('#sign-in [role=alert]')
const main = find('main')
const addForm = find<HTMLFormElement>('#add')
const list = find('main ul')

let tasks: Tasks | undefined

function open() {
  const username = session()?.username
  signInForm.hidden = username !== undefined
  main.hidden = username === undefined
  if (username === undefined) return
  tasks = openTasks(username, () => void render())
  void render()
}

async function close(options = {}) {
  const closing = tasks
  tasks = undefined
  list.replaceChildren()
  rows.clear()
  await closing?.close(options)
}

ended.call = async ({ erase }) => {
  if (!tasks) return
  await close({ erase })
  open()
  fault.textContent = 'The session has ended. Sign in to send your edits.'
}

signInForm.addEventListener('submit', async (event) => {
  event.preventDefault()
  const form = new FormData(signInForm)
  fault.textContent = ''
  try {
    await signIn(String(form.get('username')), String(form.get('password')))
    signInForm.reset()
    open()
  } catch (error) {
    fault.textContent = (error as Error).message
  }
})

find('#sign-out').addEventListener('click', async () => {
  await close()
  await signOut()
  open()
})

addForm.addEventListener('submit', async (event) => {
  event.preventDefault()
  await tasks!.add(String(new FormData(addForm).get('title')))
  addForm.reset()
})

const EMPTY: Record<State, string> = {
  syncing: 'Downloading your tasks…',
  synced: 'No tasks yet',
  offline: 'No tasks on this device yet',
  stopped: 'No tasks on this device yet',
}

let isRendering = false
let isStale = false

/** One at a time, and once more if something changes meanwhile. */
async function render() {
  isStale = true
  if (isRendering) return
  isRendering = true
  while (isStale && tasks) {
    isStale = false
    const shown = tasks
    const all = await shown.list().catch((error) => {
      if (shown === tasks) throw error
      return [] // it has been closed meanwhile
    })
    if (shown === tasks) show(shown, all)
  }
  isRendering = false
}

function show(tasks: Tasks, all: Task[]) {
  const state = tasks.state()
  find('output').textContent = state
  find('#empty').textContent = all.length === 0 ? EMPTY[state] : ''
  const titles = new Map(all.map(({ _id, title }) => [_id, title]))
  for (const [id, { item }] of rows)
    if (!titles.has(id)) {
      item.remove()
      rows.delete(id)
    }
  for (const [nth, task] of all.entries()) {
    const row = rows.get(task._id) ?? createRow(task._id)
    rows.set(task._id, row)
    row.show(task)
    if (list.children[nth] !== row.item) list.insertBefore(row.item, list.children[nth] ?? null)
  }
  find('#refused').replaceChildren(
    ...tasks.refused.list().map(({ id, reason }) => {
      const note = document.createElement('p')
      note.role = 'alert'
      const retry = button('Try again', () => tasks.retry(id))
      note.append(`“${titles.get(id) ?? id}” is only on this device: ${reason} `, retry)
      return note
    }),
  )
}

interface Row {
  item: HTMLLIElement
  show(task: Task): void
}
const rows = new Map<string, Row>()

function createRow(id: string): Row {
  const item = document.createElement('li')
  const check = document.createElement('input')
  const title = document.createElement('input')
  let task: Task
  check.type = 'checkbox'
  check.addEventListener('change', () => tasks!.edit(id, { completed: check.checked }))
  title.maxLength = 500
  title.addEventListener('change', () => {
    if (title.value.trim() === '') title.value = task.title
    else tasks!.edit(id, { title: title.value })
  })
  item.append(
    check,
    title,
    button('Delete', () => tasks!.delete(id)),
  )
  return {
    item,
    show(next) {
      // What somebody is typing stays.
      if (title !== document.activeElement || title.value === task?.title) title.value = next.title
      task = next
      check.checked = task.completed
      check.ariaLabel = task.title
      title.ariaLabel = `Title of ${task.title}`
    },
  }
}

function button(text: string, act: () => void): HTMLButtonElement {
  const element = document.createElement('button')
  element.type = 'button'
  element.textContent = text
  element.addEventListener('click', act)
  return element
}

open()
