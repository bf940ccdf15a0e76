int vmap_page_range(int addr)
{
	return addr + 1;
}
