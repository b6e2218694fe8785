import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { access, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Browser, chromium } from 'playwright-core'

/** Ours alone: those that come with the bundled Chromium switch off what a browser protects. */
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
]

const INSTALLED = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/opt/google/chrome/chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

const MISSING = `No Chromium for the tests in a browser: install Chrome or Chromium, or name one in
CHROME_PATH. (On linux-x64 there is one in the devDependencies; TASKTIDE_CHROMIUM=bundled asks for it.)`

/**
 * One Chromium: CHROME_PATH, else one that is installed, else the bundled one, which
 * TASKTIDE_CHROMIUM=bundled takes in any case. Undefined, after saying so, where there is none; in
 * CI that is an error.
 */
export async function openBrowser(): Promise<Browser | undefined> {
  const found = await findChromium()
  if (found) return chromium.launch({ ...found, args: ARGUMENTS })
  if (process.env.CI) throw new Error(MISSING)
  console.warn(`\n*** ${MISSING}\n`)
  return undefined
}

interface Chromium {
  executablePath: string
  env?: Record<string, string | undefined>
}

async function findChromium(): Promise<Chromium | undefined> {
  const { CHROME_PATH, TASKTIDE_CHROMIUM } = process.env
  if (TASKTIDE_CHROMIUM !== 'bundled') {
    const executablePath = CHROME_PATH || INSTALLED.find(isExecutable)
    if (executablePath) return { executablePath }
  }
  const fits = process.platform === 'linux' && process.arch === 'x64'
  return fits ? bundledChromium() : undefined
}

/**
 * The Chromium of `@sparticuz/chromium`, unpacked once, with the libraries that it needs. It is
 * unpacked beside its place and moved there whole: the package itself takes a file that is half
 * written, by another process or by one that was stopped, for a good one.
 */
async function bundledChromium(): Promise<Chromium> {
  const { version } = createRequire(import.meta.url)(
    path.join(MODULES, '@sparticuz/chromium/package.json'),
  ) as { version: string }
  const cache = path.join(MODULES, '.cache')
  const place = path.join(cache, `chromium-${version}`)
  if (!(await exists(place))) {
    await mkdir(cache, { recursive: true })
    const draft = await mkdtemp(`${place}.`)
    await unpackInto(draft)
    await writeFile(path.join(draft, FONTS), fontsAt(path.join(place, 'fonts')))
    await rename(draft, place).catch(async (error) => {
      await rm(draft, { recursive: true })
      // Another process was first.
      if (!(await exists(place))) throw error
    })
  }
  return {
    executablePath: path.join(place, 'chromium'),
    env: {
      ...process.env,
      LD_LIBRARY_PATH: path.join(place, 'al2023/lib'),
      FONTCONFIG_FILE: path.join(place, FONTS),
    },
  }
}

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url))

const FONTS = 'fonts.conf'

/** The one that is in the package names a folder of its own choice; without a font there is no text. */
const fontsAt = (folder: string) => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>${folder}</dir>
  <cachedir>${folder}-cache</cachedir>
</fontconfig>
`

/** In a process of its own: the package decides at its import, and by the environment, what goes where. */
async function unpackInto(folder: string): Promise<void> {
  const script = `await (await import('@sparticuz/chromium')).default.executablePath()`
  const env = {
    ...process.env,
    TMPDIR: folder,
    // It brings its own libraries only to where it believes there are none.
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x',
  }
  const run = promisify(execFile)
  await run(process.execPath, ['--input-type=module', '-e', script], { cwd: MODULES, env })
}

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  )

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
