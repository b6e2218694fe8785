import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parser } from '@prometheus-io/lezer-promql'
import { describe, expect } from 'vitest'
import { parse } from 'yaml'
import { describedMetrics, metricsDocs } from '../../scripts/metrics-docs.ts'
import { UNREADY } from '../../server/health/readiness.ts'
import { test } from '../support/fixtures.ts'

const root = path.join(import.meta.dirname, '../..')
const text = (file: string) => readFileSync(path.join(root, file), 'utf8')

const rules: Rule[] = parse(text('monitoring/prometheus-alerts.yaml')).groups[0].rules
const dashboard: Dashboard = JSON.parse(text('monitoring/grafana-dashboard.json'))
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [title, expr] as const),
  ),
  ...dashboard.templating.list.flatMap(({ name, query }) =>
    [...query.matchAll(/^label_values\((.*), (\w+)\)$/g)].map(
      ([, metric, label]) => [name, `sum by (${label}) (${metric})`] as const,
    ),
  ),
]

/** Prometheus itself adds these. */
const ADDED = ['instance', 'job', 'le']

test('every expression is PromQL about metrics, labels and values that a running server has', async ({
  server,
  ann,
}) => {
  await ann.call('GET', '/api/tasks/')
  await ann.call('GET', '/replication/tasks/0/pull?limit=1')
  await expect.poll(async () => (await server.call('GET', '/metrics')).text).toContain('list_tasks')
  const known = labelsByMetric((await server.call('GET', '/metrics')).text)
  const values: Record<string, readonly string[]> = {
    reason: Object.keys(UNREADY),
    operation: server.app.operations.map(({ id }) => id),
  }
  const faults = expressions.flatMap(([where, expr]) =>
    faultsOf(expr, known, values).map((fault) => `${where}: ${fault}`),
  )
  expect(faults).toEqual([])
  expect(expressions.length).toBeGreaterThan(40)
})

test.for<[string, string]>([
  ['sum(rate(tasktide_frames_sent[5m]))', 'no metric tasktide_frames_sent'],
  ['tasktide_unready{cause="stopping"} > 0', 'tasktide_unready has no label cause'],
  ['max by (cause) (tasktide_unready) > 0', 'no label cause'],
  ['tasktide_unready{reason="tired"} > 0', 'reason is never tired'],
  ['sum(rate(tasktide_unready[5m])', 'not PromQL'],
])('the check sees through %s', ([expr, fault]) => {
  const known = new Map([['tasktide_unready', new Set(['reason'])]])
  expect(faultsOf(expr, known, { reason: ['stopping'] })).toEqual([fault])
})

describe('alerts', () => {
  test('have a severity, a summary and a recipe in the manual', () => {
    const anchors = new Set(
      [...text('docs/operations.md').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
        heading
          .toLowerCase()
          .replaceAll(/[^\w -]/g, '')
          .replaceAll(' ', '-'),
      ),
    )
    for (const { alert, labels, annotations } of rules) {
      expect(['critical', 'warning'], alert).toContain(labels.severity)
      expect(annotations.summary, alert).toMatch(/\.$/)
      const [, anchor = ''] = /^docs\/operations\.md#(.*)$/.exec(annotations.runbook) ?? []
      expect([...anchors], alert).toContain(anchor)
    }
  })

  test('are each in the recipe that they lead to', () => {
    const manual = text('docs/operations.md')
    expect(rules.filter(({ alert }) => !manual.includes(`\`${alert}\``))).toEqual([])
    const named = manual.match(/`Tasktide[A-Z]\w+`/g)!.map((name) => name.slice(1, -1))
    expect(named.filter((name) => !rules.some(({ alert }) => alert === name))).toEqual([])
  })
})

describe('the dashboard', () => {
  test('leads only to recipes that exist, and its panels do not overlap', () => {
    const recipes = new Set(rules.map(({ annotations }) => annotations.runbook))
    const linked = dashboard.panels.flatMap(
      ({ description }) => description?.match(/docs\/\S+/g) ?? [],
    )
    expect(linked.filter((recipe) => !recipes.has(recipe))).toEqual([])
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    )
    expect(new Set(cells).size).toBe(cells.length)
    const ids = dashboard.panels.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
  })
})

describe('the manual', () => {
  test('has the table of metrics as they are', () => {
    const { is, shouldBe } = metricsDocs()
    expect(is).toBe(shouldBe) // else: npm run docs:metrics
  })

  test('has every metric of a running server', async ({ server }) => {
    const running = (await server.call('GET', '/metrics')).text.match(/(?<=^# HELP )tasktide_\w+/gm)
    expect(running!.sort()).toEqual(describedMetrics().map(({ name }) => name))
  })

  test('says what to do for every reason why a node is not ready', () => {
    const [, recipe = ''] = /### A node is not ready\n([\s\S]*?)\n### /.exec(
      text('docs/operations.md'),
    )!
    for (const reason of Object.keys(UNREADY)) expect(recipe).toContain(`\`${reason}\``)
  })
})

interface Rule {
  alert: string
  expr: string
  labels: { severity: string }
  annotations: { summary: string; runbook: string }
}

interface Dashboard {
  templating: { list: { name: string; query: string }[] }
  panels: {
    id: number
    title: string
    description?: string
    gridPos: { x: number; y: number; w: number; h: number }
    targets?: { expr: string }[]
  }[]
}

/** The labels of each metric, the parts of histograms included. */
function labelsByMetric(exposition: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  // Some have a value only at times, such as that of the replica.
  for (const [, name = ''] of exposition.matchAll(/^# HELP (\w+)/gm)) found.set(name, new Set())
  for (const [, name = '', labels = ''] of exposition.matchAll(/^(\w+)(?:\{(.*)\})? /gm)) {
    const known = found.get(name) ?? new Set()
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label)
    found.set(name, known)
  }
  return found
}

function faultsOf(
  expr: string,
  known: ReadonlyMap<string, ReadonlySet<string>>,
  values: Readonly<Record<string, readonly string[]>>,
): string[] {
  // Grafana fills it in before Prometheus reads the expression.
  const query = expr.replaceAll('$__rate_interval', '1m')
  const faults: string[] = []
  const selected = new Set<string>()
  const grouped: string[] = []
  let metric = ''
  parser.parse(query).iterate({
    enter({ type, node, from, to }) {
      const part = query.slice(from, to)
      if (type.isError) faults.push('not PromQL')
      if (type.name === 'Identifier') {
        metric = part
        if (!known.has(part)) faults.push(`no metric ${part}`)
        for (const label of known.get(part) ?? []) selected.add(label)
      }
      if (type.name === 'LabelName') {
        if (node.parent?.name === 'GroupingLabels') grouped.push(part)
        else if (known.has(metric) && ![...known.get(metric)!, ...ADDED].includes(part))
          faults.push(`${metric} has no label ${part}`)
      }
      if (type.name === 'UnquotedLabelMatcher') {
        const [, label = '', value = ''] = /^(\w+)!?="(.*)"$/.exec(part) ?? []
        if (values[label] && !values[label].includes(value))
          faults.push(`${label} is never ${value}`)
      }
    },
  })
  const labels = new Set([...selected, ...ADDED])
  return [
    ...faults,
    ...grouped.filter((label) => !labels.has(label)).map((label) => `no label ${label}`),
  ]
}
