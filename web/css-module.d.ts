/** The build makes a style sheet of what is imported so. */
declare module '*.css'
