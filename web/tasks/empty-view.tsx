/** Shown for an empty view. */
export function EmptyView({ text: [title, hint] }: { text: readonly [string, string] }) {
  return (
    <div class="empty">
      <svg viewBox="0 0 200 76" aria-hidden="true">
        <circle class="sun" cx="138" cy="30" r="15" />
        <path d="M8 42c15-11 31-11 46 0s31 11 46 0 31-11 46 0 31 11 46 0" />
        <path class="far" d="M26 56c12-9 25-9 37 0s25 9 37 0 25-9 37 0 25 9 37 0" />
        <path class="farther" d="M62 68c9-6 18-6 27 0s18 6 27 0 18-6 27 0" />
      </svg>
      <p class="title">{title}</p>
      <p>{hint}</p>
    </div>
  )
}
