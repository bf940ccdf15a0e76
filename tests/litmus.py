# SPDX-License-Identifier: GPL-2.0-only
"""A litmus test of a freer that tries a lock and a walker that takes it."""

LOCKED = """\
C locked

{
	int table = 1;
	int *pmd = &table;
}

P0(int **pmd, int *table, int *va0, spinlock_t *lock)
{
	int got;

	got = spin_trylock(lock); // trylock
	if (got) {
		WRITE_ONCE(*pmd, va0); // clear
		WRITE_ONCE(*table, 2); // free
		spin_unlock(lock); // unlock
	}
}

P1(int **pmd, int *table, spinlock_t *lock)
{
	int *e;
	int r;

	spin_lock(lock); // lock
	e = READ_ONCE(*pmd); // check
	if (e == table) {
		r = READ_ONCE(*e); // read
	}
	spin_unlock(lock); // unlock
}

exists (1:r=2)
"""
