import { isIP, isIPv4, isIPv6 } from 'node:net'

/** How many bits of an IPv6 address tell a device, a household and a site apart, the narrowest first. */
const PREFIXES = [64, 56, 48] as const

/**
 * The networks of an address, the narrowest first. An IPv4 address is one network. One person can have a
 * whole IPv6 site of 65,536 networks of 2^64 addresses each, so those are named at /64, /56 and /48.
 * Whatever is no address is returned unchanged.
 */
export function networksOf(address: string): string[] {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped) return [mapped]
  if (!isIPv6(address)) return [address]
  const groups = groupsOf(address)
  return PREFIXES.map((bits) => {
    const kept = groups.slice(0, 4).map((group, i) => group & maskOf(bits - i * 16))
    return `${kept.map((group) => group.toString(16)).join(':')}::/${bits}`
  })
}

/** The widest network: turns for scarce work are taken by it. */
export const siteOf = (address: string | undefined) => networksOf(address ?? '').at(-1)!

/**
 * The network to remember of an address: /24 of IPv4, /48 of IPv6. Enough to tell home from abroad, and less
 * than an address says about a person (docs/decisions/0041-security-events.md).
 */
export function networkOf(address: string): string {
  const site = siteOf(address)
  return isIPv4(site) ? site.replace(/\.\d+$/, '.0/24') : site
}

/**
 * X-Forwarded-For without ports, which some proxies append. With them each connection of a client would count
 * as another address, and a proxy in the list would not be recognized.
 */
export function withoutPorts(forwardedFor: string): string {
  return forwardedFor
    .split(',')
    .map((item) => {
      const text = item.trim()
      const [, address] = /^\[([^\]]*)\](?::\d*)?$/.exec(text) ?? /^([^:]*):\d*$/.exec(text) ?? []
      return address !== undefined && isIP(address) !== 0 ? address : text
    })
    .join(', ')
}

function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::') as [string, string | undefined]
  const left = head === '' ? [] : head.split(':')
  const right = tail ? tail.split(':') : []
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  return [...left, ...Array<string>(Math.max(0, zeros)).fill('0'), ...right].map((group) =>
    Number.parseInt(group || '0', 16),
  )
}

/** The mask of a group of 16 bits of which the first ones are kept. */
const maskOf = (bits: number) => (0xffff << Math.max(0, 16 - Math.max(0, bits))) & 0xffff
