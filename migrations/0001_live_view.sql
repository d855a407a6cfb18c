CREATE TABLE `live_links` (
	`id` text PRIMARY KEY NOT NULL,
	`tenant_id` text NOT NULL,
	`run_id` text NOT NULL,
	`mode` text NOT NULL,
	`hash` text NOT NULL,
	`hint` text NOT NULL,
	`max_viewers` integer NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`last_used_at` integer,
	`revoked_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `live_links_hash_unique` ON `live_links` (`hash`);--> statement-breakpoint
CREATE INDEX `live_links_by_tenant` ON `live_links` (`tenant_id`,`id`);--> statement-breakpoint
CREATE INDEX `live_links_by_run` ON `live_links` (`tenant_id`,`run_id`,`id`);--> statement-breakpoint
CREATE TABLE `stream_admissions` (
	`tenant_id` text NOT NULL,
	`source` text NOT NULL,
	`session_id` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`tenant_id`, `source`, `session_id`)
);
--> statement-breakpoint
CREATE INDEX `stream_admissions_by_age` ON `stream_admissions` (`at`);