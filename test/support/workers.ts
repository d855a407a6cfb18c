/**
 * Test files that run at once. Most of them wait for processes, containers and clocks rather than compute, so it is
 * more than the cores of a small machine. Every project has to say it: none takes it from the root.
 */
export const WORKERS = 3
