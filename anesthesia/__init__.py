"""The vocabulary of Sopor: values and arithmetic of anesthesia.

Pure: numpy and scipy only. Nothing here does I/O, asks for the time, draws a random number or logs.
"""
