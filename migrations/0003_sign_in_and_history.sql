CREATE TABLE `browser_sessions` (
	`hash` text PRIMARY KEY NOT NULL,
	`tenant_id` text NOT NULL,
	`holder_id` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `browser_sessions_by_end` ON `browser_sessions` (`expires_at`);--> statement-breakpoint
CREATE TABLE `members` (
	`id` text PRIMARY KEY NOT NULL,
	`tenant_id` text NOT NULL,
	`email` text NOT NULL,
	`role` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `members_by_tenant` ON `members` (`tenant_id`,`id`);--> statement-breakpoint
CREATE UNIQUE INDEX `members_by_email` ON `members` (`email`,`tenant_id`);--> statement-breakpoint
ALTER TABLE `runs` ADD `finished_at` integer;--> statement-breakpoint
CREATE INDEX `runs_by_pool_and_status` ON `runs` (`tenant_id`,`pool_id`,`status`,`id`);--> statement-breakpoint
CREATE INDEX `runs_by_environment_and_status` ON `runs` (`tenant_id`,`environment_id`,`status`,`id`);--> statement-breakpoint
CREATE INDEX `runs_by_end` ON `runs` (`tenant_id`,`status`,`finished_at`) WHERE finished_at IS NOT NULL;--> statement-breakpoint
CREATE INDEX `registration_tokens_by_end` ON `registration_tokens` (`tenant_id`,`expires_at`);