#define VMAP_LEVELS 4
static inline int vmap_level(int addr)
{
	return addr % VMAP_LEVELS;
}
