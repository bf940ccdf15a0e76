// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads /kvet/plan, which says what a workload of one's own does: a line has
 * a word and what belongs to it, one argument of a command a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sides.h"

static char text[256 << 10];

static void add_watch(struct plan *plan, const char *rest)
{
	size_t used = strlen(plan->watches);

	snprintf(plan->watches + used, sizeof(plan->watches) - used, "%s%s", used ? "," : "count=",
		 rest);
}

static int add_side(struct plan *plan, char *rest)
{
	struct side *side = &plan->sides[plan->nr_sides];

	if (plan->nr_sides == MOST_SIDES)
		return -1;
	side->name = strsep(&rest, " ");
	side->loop = rest && !strcmp(rest, "loop");
	side->first = plan->nr_commands;
	side->out = -1;
	plan->nr_sides++;
	return 0;
}

static int add_command(struct plan *plan, char *rest)
{
	struct command *command = &plan->commands[plan->nr_commands];
	char *kind, *expect, *stay;

	if (!plan->nr_sides || plan->nr_commands == MOST_COMMANDS)
		return -1;
	command->name = strsep(&rest, " ");
	kind = strsep(&rest, " ");
	expect = strsep(&rest, " ");
	stay = strsep(&rest, " ");
	if (!kind || !expect || !stay)
		return -1;
	command->is_module = !strcmp(kind, "module");
	command->expect = atoi(expect);
	command->stay = atof(stay);
	command->first = plan->nr_args;
	plan->sides[plan->nr_sides - 1].nr++;
	plan->nr_commands++;
	return 0;
}

static int add_arg(struct plan *plan, char *rest)
{
	/* one is left for the NULL behind the last */
	if (!plan->nr_commands || plan->nr_args >= MOST_ARGS - 1)
		return -1;
	/* the arguments of each command end in NULL: a place for it before the next one's */
	plan->args[plan->nr_args++] = rest;
	return 0;
}

static int take(struct plan *plan, char *line)
{
	char *word = strsep(&line, " ");

	if (!line)
		line = "";
	if (!strcmp(word, "watch"))
		add_watch(plan, line);
	else if (!strcmp(word, "lost"))
		say("# kvet state not_counted %s", line);
	else if (!strcmp(word, "side"))
		return add_side(plan, line);
	else if (!strcmp(word, "cmd"))
		return add_command(plan, line);
	else if (!strcmp(word, "need") && plan->nr_needed < MOST_SIDES)
		plan->needed[plan->nr_needed++] = line;
	else if (!strcmp(word, "arg"))
		return add_arg(plan, line);
	else if (!strcmp(word, "end"))
		plan->args[plan->nr_args++] = NULL;
	else
		return -1;
	return 0;
}

int read_plan(struct plan *plan)
{
	char *line, *rest = text;

	if (read_file("/kvet/plan", text, sizeof(text)) < 0)
		return -1;
	while ((line = strsep(&rest, "\n")))
		if (*line && take(plan, line))
			return -1;
	return 0;
}
