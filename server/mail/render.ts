import type { MailContent } from './templates/template.ts'

/** Renders mail content as text and HTML. User input is escaped. */
export function render(content: MailContent & { language: string }): {
  subject: string
  text: string
  html: string
} {
  return {
    // A line break would end the header.
    subject: [...content.subject.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')].slice(0, 200).join(''),
    text: textOf(content),
    html: htmlOf(content),
  }
}

function textOf({ paragraphs, lists = [], action, closing, unsubscribe }: MailContent): string {
  const parts = [
    ...paragraphs,
    ...lists.map(({ heading, items }) =>
      [heading, ...items.map(({ title, note }) => `- ${title}${note && ` (${note})`}`)].join('\n'),
    ),
    ...(action ? [`${action.label}:\n${action.url}`] : []),
    ['-- ', ...closing, ...(unsubscribe ? [`${unsubscribe.label}: ${unsubscribe.url}`] : [])].join(
      '\n',
    ),
  ]
  return `${parts.join('\n\n')}\n`
}

function htmlOf({
  language,
  subject,
  paragraphs,
  lists = [],
  action,
  closing,
  unsubscribe,
}: Rendered): string {
  return `<!doctype html>
<html lang="${escaped(language)}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escaped(subject)}</title></head>
<body style="margin:0;padding:24px;background:#f4f6f8;font:16px/1.5 system-ui,sans-serif;color:#1b2733">
<div style="max-width:560px;margin:0 auto;padding:24px;background:#fff;border-radius:12px">
${paragraphs.map((text) => `<p style="white-space:pre-line">${escaped(text)}</p>`).join('\n')}
${lists.map(listOf).join('\n')}
${action ? buttonOf(action) : ''}
<div style="margin-top:24px;border-top:1px solid #dde3e9;font-size:14px;color:#51606e">
${closing.map((text) => `<p>${escaped(text)}</p>`).join('\n')}
${unsubscribe ? `<p><a href="${escaped(unsubscribe.url)}" style="color:#51606e">${escaped(unsubscribe.label)}</a></p>` : ''}
</div>
</div>
</body>
</html>
`
}

type Rendered = MailContent & { language: string }

const listOf = ({ heading, items }: NonNullable<MailContent['lists']>[number]) =>
  `<h2 style="font-size:18px">${escaped(heading)}</h2>
<ul>${items
    .map(
      ({ title, note }) =>
        `<li>${escaped(title)}${note && ` <span style="color:#51606e">${escaped(note)}</span>`}</li>`,
    )
    .join('\n')}</ul>`

const buttonOf = ({ label, url }: NonNullable<MailContent['action']>) =>
  `<p><a href="${escaped(url)}" style="display:inline-block;padding:10px 18px;border-radius:8px;background:#0b5c7a;color:#fff;text-decoration:none">${escaped(label)}</a></p>
<p style="font-size:14px;color:#51606e;word-break:break-all">${escaped(url)}</p>`

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

const escaped = (text: string) => text.replaceAll(/[&<>"']/g, (sign) => ENTITIES[sign]!)
