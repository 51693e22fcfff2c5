"""Models behind one interface: the shared SAM view and every other adapter."""
