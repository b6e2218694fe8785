/** The logo with the name. */
export function Wordmark() {
  return (
    <span class="wordmark">
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="9" />
        <path class="tick" d="M8 14.5l5 5L24 8" />
        <path class="tide" d="M5.5 26c2.6-2.2 5.3-2.2 7.9 0s5.3 2.2 7.9 0 4-2 5.2-1.5" />
      </svg>
      <span>Tasktide</span>
    </span>
  )
}
