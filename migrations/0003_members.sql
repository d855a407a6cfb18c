CREATE TABLE `members` (
	`id` text PRIMARY KEY NOT NULL,
	`tenant_id` text NOT NULL,
	`email` text NOT NULL,
	`role` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `members_by_tenant` ON `members` (`tenant_id`,`id`);--> statement-breakpoint
CREATE UNIQUE INDEX `members_by_email` ON `members` (`email`,`tenant_id`);