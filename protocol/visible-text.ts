/** U+2800 is an empty Braille cell: it shows nothing, but counts neither as a space nor as ignorable. */
const VISIBLE = /[^\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]/u

/** Whether a text shows anything when it is displayed. Without zod, so that an app can ask before it saves. */
export const isVisible = (text: string): boolean => VISIBLE.test(text)
