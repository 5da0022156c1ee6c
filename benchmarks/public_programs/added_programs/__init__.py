"""Small programs for what no public example does on a machine without a GPU. Each is started as a
script.
"""
