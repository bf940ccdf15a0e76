int ptdump_walk(int addr)
{
	return addr + 2;
}
