"""Which events were accepted, and how many a sender may send: for one gateway process, or shared by several."""
