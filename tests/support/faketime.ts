import { execFileSync } from 'node:child_process'
import { findProgram, isInstalled } from './programs.ts'

const MISSING = 'No libfaketime for the story of wrong clocks: apt-get install faketime.'

/** Whether there is libfaketime on this machine. Without it, warns; in CI throws. */
export const hasFaketime = (): boolean => isInstalled(findProgram('faketime'), MISSING)

/** The environment of a process whose machine has a clock that is so much ahead: `+1d`. */
export function clockOfMachineAhead(offset: string): Record<string, string> {
  const printed = execFileSync(findProgram('faketime')!, ['-m', '-f', offset, 'env'], {
    encoding: 'utf8',
  })
  const library = /^LD_PRELOAD=(.+)$/m.exec(printed)![1]!
  return {
    LD_PRELOAD: library,
    FAKETIME: offset,
    // Timers run by the monotonic clock, which an operator cannot set.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  }
}
