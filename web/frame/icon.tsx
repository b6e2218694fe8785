const PATHS = {
  all: 'M4 6h16M4 12h16M4 18h10',
  today: 'M5 7h14v12H5zM5 11h14M9 4v4M15 4v4',
  overdue: 'M12 4a8 8 0 100 16 8 8 0 000-16zM12 8v4.5l3 2',
  done: 'M4.5 12.5l5 5 10-11',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7',
  plus: 'M12 5v14M5 12h14',
  search: 'M10.5 4.5a6 6 0 100 12 6 6 0 000-12zM15 15l4.5 4.5',
  pencil: 'M5 19l1-4L16 5l3 3L9 18z',
  text: 'M5 8h14M5 12h14M5 16h8',
  flag: 'M6 20V5h11l-2.5 4L17 13H6',
  restore: 'M5 11a7 7 0 117 8M5 11V6M5 11h5',
  bell: 'M6.5 16.5V11a5.5 5.5 0 0111 0v5.5l1.5 1.5H5zM10.5 20.5h3',
  close: 'M6 6l12 12M18 6L6 18',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}

/** A drag handle of six dots. */
export function Grip() {
  return (
    <svg class="icon grip" viewBox="0 0 24 24" aria-hidden="true">
      {[6, 12, 18].map((y) =>
        [9, 15].map((x) => <circle key={`${x} ${y}`} cx={x} cy={y} r="1.4" />),
      )}
    </svg>
  )
}
