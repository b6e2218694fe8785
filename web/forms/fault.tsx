/** An error message, announced by screen readers. */
export function Fault({ text }: { text: string }) {
  if (!text) return null
  return (
    <p role="alert" class="fault">
      {text}
    </p>
  )
}
