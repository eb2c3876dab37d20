mod alone;
