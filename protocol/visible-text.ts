/** U+2800, an empty Braille cell, is invisible but neither a space nor ignorable. */
const VISIBLE = /[^\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]/u

/** Whether a text is visible. Without zod, so that an app can check before it saves. */
export const isVisible = (text: string): boolean => VISIBLE.test(text)
