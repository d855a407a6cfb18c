/** In place of a cron expression: Cloudflare lets what is under way end by itself, a process of one's own has to ask. */
export const BEFORE_THE_END = 'before the end'
