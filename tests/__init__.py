"""unit/ (no I/O), integration/ (a real broker), faults/, bench/ (figures), and support/, which they share."""
