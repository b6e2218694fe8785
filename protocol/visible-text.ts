/** Some characters show nothing, and no two engines agree on calling them spaces: U+2800 is an empty Braille cell. */
const VISIBLE = /[^\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]/u

/** Whether a text shows anything when it is displayed. Without zod, so that an app can ask before it saves. */
export const isVisible = (text: string): boolean => VISIBLE.test(text)
