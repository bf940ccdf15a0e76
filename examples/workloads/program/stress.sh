#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Results are read where they are printed in the form of TAP.
cd /tmp && echo 1..2
i=0
while [ $i -lt "$1" ]; do
	echo $i > new && mv new old || break
	i=$((i + 1))
done
[ $i = "$1" ] && echo "ok 1 every file was renamed" || echo "not ok 1 every file was renamed"
[ "$(cat old)" = $((i - 1)) ] && echo "ok 2 the last one won" || echo "not ok 2 the last one won"
